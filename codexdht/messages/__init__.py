"""What actors say to each other (`internal`, `codec`), what peers say to each other (`discv5`), and the shape
that every actor's logic has (`machine`)."""
