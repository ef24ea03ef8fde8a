"""`python -m codexdht.cli`."""

import sys

from codexdht.cli import main

sys.exit(main())
