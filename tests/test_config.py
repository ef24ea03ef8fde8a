"""The configuration: the shipped file, the environment, and every way to be wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from codexdht.api.settings import is_loopback
from codexdht.config import SHARED, Sections, load_config
from codexdht.errors import ConfigError
from codexdht.identity import PrivateKey
from codexdht.node import shipped_file
from codexdht.records import parse_address, sign_record

SHIPPED = shipped_file("config/codexdht.toml")


def write(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_the_shipped_file_names_every_key_with_its_default() -> None:
    """Nothing can be configured that the file does not show, and what it shows is what holds without it."""
    values = tomllib.loads(SHIPPED.read_text())
    shipped = msgspec.convert(values, Sections)
    needed = {"network": {"bootstrap": shipped.network.bootstrap, "listen": shipped.network.listen}}
    assert shipped == msgspec.convert(needed, Sections)
    for section, struct in ((name, getattr(shipped, name)) for name in Sections.__struct_fields__):
        assert set(values[section]) == set(struct.__struct_fields__) - SHARED.get(section, set()), section


def test_the_environment_overrides_each_kind_of_value() -> None:
    """Text, numbers, booleans and lists can be given as environment variables."""
    config = load_config(
        SHIPPED,
        {
            "CODEXDHT_NODE__DATA_DIR": "/tmp/x",
            "CODEXDHT_WIRE__SESSIONS": "17",
            "CODEXDHT_NODE__AUTOSTART": "false",
            "CODEXDHT_NETWORK__LISTEN": "/ip4/127.0.0.1/udp/1,/ip6/::1/udp/2",
        },
    )
    assert config.data_dir == Path("/tmp/x")
    assert config.wire.sessions == 17
    assert config.node.autostart is False
    assert config.listen == [("127.0.0.1", 1), ("::1", 2)]


def test_a_list_may_be_written_as_in_toml() -> None:
    """So that values with commas can be given, and an empty list."""
    assert load_config(SHIPPED, {"CODEXDHT_NETWORK__BOOTSTRAP": "[]"}).bootstrap == []
    assert load_config(SHIPPED, {"CODEXDHT_NETWORK__BOOTSTRAP": ""}).bootstrap == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[network\n", ["node.toml", "is not TOML"]),
        ('[network]\nbootstrap = []\nlisten = ["x"]\n', ["network.listen", "'x' is not a listen address"]),
        ("[network]\nbootstrap = []\nlisten = 5\n", ["network.listen", "found 5", "expected `array`"]),
        ("[network]\nbootstrap = []\nlisten = []\n", ["network.listen", "found []", "length >= 1"]),
        (
            '[network]\nbootstrap = ["spr:x"]\nlisten = ["/ip4/0.0.0.0/udp/1"]\n',
            ["network.bootstrap", "spr:x"],
        ),
        (
            '[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1", "/ip4/0.0.0.0/udp/2"]\n',
            ["network.listen", "udp/2", "at most one address of IPv4"],
        ),
        (
            '[network]\nbootstrap = []\nlisten = ["/ip4/1.2.3.4/tcp/1"]\n',
            ["network.listen", "is not a listen address such as"],
        ),
        (
            '[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1"]\nannounce = ["/ip4/0.0.0.0/udp/1"]\n',
            ["network.announce", "an address that others can reach"],
        ),
        (
            '[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1"]\nannounce = ['
            + ", ".join(
                f'"/ip6/2001:db8::{n}/udp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"'
                for n in range(8)
            )
            + "]\n",
            ["network.announce", "found 8 addresses, which make a record of 6", "expected at most 512"],
        ),
        (
            '[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1"]\nspeed = 1\n',
            ["network", "unknown field `speed`"],
        ),
        ("[nettwork]\n", ["unknown field `nettwork`"]),
        ('["a\\nb\\u001b"]\n', ["unknown field `a\\nb\\x1b`"]),
        ("[wire]\nsessions = " + "9" * 5000, ["is not TOML", "4300 digits"]),
        ("node = 0x" + "f" * 5000, ["node: found an integer of thousands of digits"]),
        ("[wire]\nip_limits = 0x" + "f" * 5000, ["wire.ip_limits: found an integer of thousands of digits"]),
        (
            '[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1"]\n[wire]\nip_limits = "off"\n',
            ["wire.ip_limits", "in section network"],
        ),
    ],
)
def test_a_wrong_file_is_explained_in_one_line(folder: Path, text: str, parts: list[str]) -> None:
    """File, key, what was found, what is expected."""
    with pytest.raises(ConfigError) as error:
        load_config(write(folder, text), {})
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("CODEXDHT_WIRE__SESSIONS", "many", "wire.sessions: found 'many': expected `int`"),
        ("CODEXDHT_WIRE__SESSIONS", "0", "wire.sessions: found '0': expected `int` >= 1"),
        ("CODEXDHT_WIER__SESSIONS", "1", "with a section of node, network, wire"),
        ("CODEXDHT_SESSIONS", "1", "expected CODEXDHT_SECTION__KEY"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, part: str) -> None:
    """The message names the variable, not the file."""
    with pytest.raises(ConfigError) as error:
        load_config(SHIPPED, {variable: value})
    assert variable in str(error.value)
    assert part in str(error.value)


def test_a_missing_file_is_said(folder: Path) -> None:
    """With the ways to name another."""
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: .*CODEXDHT_CONFIG or --config"):
        load_config(folder / "none.toml", {})


def test_a_bootstrap_record_without_a_udp_address_is_refused(folder: Path) -> None:
    """It could never be asked."""
    record = sign_record(PrivateKey(b"\x01" * 32), 1, [parse_address("/ip4/1.2.3.4/tcp/80")])
    with pytest.raises(ConfigError, match="holds no UDP address"):
        load_config(SHIPPED, {"CODEXDHT_NETWORK__BOOTSTRAP": record.uri})


def test_bootstrap_records_that_no_socket_reaches_are_refused() -> None:
    """One node within reach is enough; none at all would be waited for without end."""
    near, far = (
        sign_record(PrivateKey(b"\x01" * 32), 1, [parse_address(text)]).uri
        for text in ("/ip4/1.2.3.4/udp/80", "/ip6/2a00::1/udp/80")
    )
    listen = {"CODEXDHT_NETWORK__LISTEN": "/ip4/0.0.0.0/udp/0"}
    config = load_config(SHIPPED, {**listen, "CODEXDHT_NETWORK__BOOTSTRAP": f"{far},{near}"})
    assert (len(config.bootstrap), config.ip_versions) == (2, {4})
    with pytest.raises(ConfigError, match="none of these nodes has an address of an IP version"):
        load_config(SHIPPED, {**listen, "CODEXDHT_NETWORK__BOOTSTRAP": far})


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b""])
def test_a_file_from_another_system_is_read(folder: Path, prefix: bytes) -> None:
    """With a byte order mark, and with line ends of two characters."""
    path = folder / "node.toml"
    path.write_bytes(prefix + b'[network]\r\nbootstrap = []\r\nlisten = ["/ip4/0.0.0.0/udp/1"]\r\n')
    assert load_config(path, {}).network.listen == ["/ip4/0.0.0.0/udp/1"]


@pytest.mark.parametrize("text", ["x = " + "[" * 20_000, "x = " + "{a=" * 20_000])
def test_a_file_of_nothing_but_brackets_is_explained(folder: Path, text: str) -> None:
    """The parser gives up before it runs out of stack."""
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(write(folder, text), {})


def test_a_section_that_is_no_table_and_a_variable_for_it_are_no_trouble(folder: Path) -> None:
    """The file is what is wrong."""
    with pytest.raises(ConfigError, match="node: found 5: expected `object`"):
        load_config(write(folder, "node = 5\n"), {"CODEXDHT_NODE__DATA_DIR": "x"})


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("CODEXDHT_NETWORK__LISTEN", "x", "network.listen: 'x' is not a listen address"),
        ("CODEXDHT_NETWORK__ANNOUNCE", "x", "network.announce: 'x' is not a multiaddress"),
        ("CODEXDHT_NETWORK__BOOTSTRAP", "spr:x", "network.bootstrap: found 'spr:x'"),
        ("CODEXDHT_NODE__DATA_DIR", "\udcff", "node.data_dir: found '\\udcff', expected UTF-8"),
        ("CODEXDHT_WIRE__SESSIONS", "1\udcff", "wire.sessions: found '1\\udcff', expected UTF-8"),
        ("CODEXDHT_NODE__AUTOSTART", "\udcff", "node.autostart: found '\\udcff', expected UTF-8"),
        ("CODEXDHT_LOG__LEVEL", "\udcff", "log.level: found '\\udcff', expected UTF-8"),
        ("CODEXDHT_NETWORK__LISTEN", "[\udcff]", "network.listen: found '[\\udcff]', expected UTF-8"),
        ("CODEXDHT_WIRE__SESSIONS", "[" + "9" * 5000 + "]", "wire.sessions: found '[999"),
        ("CODEXDHT_WIRE__SESSIONS", "[0x" + "f" * 5000 + "]", "found an integer of thousands of digits"),
        ("CODEXDHT_NODE__RUN_DIR", "~nobody-at-all/x", "node.run_dir: found '~nobody-at-all/x'"),
        ("CODEXDHT_API__CURVE_CLIENTS", "~nobody-at-all/x", "api.curve_clients: found '~nobody-at-all/x'"),
        ("CODEXDHT_LOG__DIRECTORY", "a\0b", "log.directory: found 'a\\x00b'"),
        ("CODEXDHT_STORE__MAX_BYTES", "9" * 30, "store.max_bytes"),
        ("CODEXDHT_API__ENDPOINTS", "tcp://127.0.0.1:65536", "port 0 to 65535"),
        ("CODEXDHT_API__ENDPOINTS", "ws://0.0.0.0:80", "expected ipc:///path or tcp://host:port"),
        ("CODEXDHT_API__ENDPOINTS", "inproc://x", "expected ipc:///path or tcp://host:port"),
        ("CODEXDHT_API__ENDPOINTS", "tcp://127.0.0.1", "expected ipc:///path or tcp://host:port"),
        ("CODEXDHT_API__ENDPOINTS", "[" * 20_000, "[[[: expected `array`"),
    ],
)
def test_what_follows_from_a_wrong_variable_names_it_too(variable: str, value: str, part: str) -> None:
    """Options of `codexdht up` come as variables; the file knows nothing of them."""
    with pytest.raises(ConfigError) as error:
        load_config(SHIPPED, {variable: value})
    assert str(error.value).startswith(variable)
    assert part in str(error.value)
    assert len(str(error.value)) < 500


def test_every_path_may_be_in_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the API's endpoints, too."""
    monkeypatch.setenv("HOME", "/home/me")
    names = ("NODE__DATA_DIR", "NODE__RUN_DIR", "NODE__KEY_FILE", "LOG__DIRECTORY")
    names += ("API__CURVE_SERVER_KEY", "API__CURVE_CLIENTS")
    config = load_config(SHIPPED, {f"CODEXDHT_{name}": "~/x" for name in names})
    paths = (config.data_dir, config.run_dir, config.key_file, config.log_dir)
    assert {*map(str, paths), config.api.curve_server_key, config.api.curve_clients} == {"/home/me/x"}
    assert load_config(SHIPPED, {}).api.curve_clients == ""


@pytest.mark.parametrize(
    ("endpoint", "inside"),
    [
        ("tcp://127.1.2.3:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://localhost:1", True),
        ("tcp://0.0.0.0:1", False),
        ("tcp://*:1", False),
        ("tcp://127.0.0.1.example.org:1", False),
    ],
)
def test_loopback(endpoint: str, inside: bool) -> None:
    """Only what is certain to be this machine needs no keys."""
    assert is_loopback(endpoint) is inside
