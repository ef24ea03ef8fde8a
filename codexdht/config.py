"""The configuration: one TOML file, every key overridable from the environment, validated at once.

`CODEXDHT_CONFIG` names the file; `CODEXDHT_SECTION__KEY` overrides one key of it. A value from the environment is
text: numbers and booleans are read from it, lists are separated by commas (or written as in TOML).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_type_hints

import msgspec

from codexdht.api.settings import ApiSettings, is_endpoint
from codexdht.errors import ConfigError, InvalidParams, InvalidRecord
from codexdht.records import (
    Endpoint,
    IpVersions,
    SignedPeerRecord,
    endpoint_of,
    ip_version,
    largest_record,
    parse_address,
    record_from_uri,
)
from codexdht.routing.settings import RoutingSettings
from codexdht.store.settings import StoreSettings
from codexdht.wire.local import MAX_RECORD, parse_listen
from codexdht.wire.settings import WireSettings

FILE_VARIABLE: Final = "CODEXDHT_CONFIG"
PROCESSES_VARIABLE: Final = "CODEXDHT_WIRE__PROCESSES"
"""supervisord reads this one by itself: it starts as many wire processes."""
RUN_DIR: Final = "run"
"""The run directory in the data directory, where no other is configured."""
_CURVE_PATHS: Final = ("curve_server_key", "curve_clients")
_PREFIX: Final = "CODEXDHT_"
_LONGEST_SHOWN: Final = 200
_NOT_SETTINGS: Final = frozenset(
    {FILE_VARIABLE, "CODEXDHT_PYTHON", "CODEXDHT_OWNER_PID", "CODEXDHT_SUPERVISOR_PID", "CODEXDHT_VECTORS"}
)


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `node`."""

    data_dir: str = "data"
    """Where the node keeps what survives it: key, records, store. Relative to where supervisord was started."""
    key_file: str = ""
    """The identity key, 64 hexadecimal digits; made on the first run. Empty: key in data_dir."""
    run_dir: str = ""
    """The actors' sockets and locks; entered by this user alone. At most 86 bytes long. Empty: run in data_dir."""
    autostart: bool = True
    """Open and start by itself. False leaves that to the API's open and start."""


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `network`: what concerns several actors, or a person who sets up a node."""

    bootstrap: list[str]
    """Records (spr:…) of the nodes to join the network by. It must be given; an empty list starts a network."""
    listen: Annotated[list[str], msgspec.Meta(min_length=1, max_length=8)]
    """UDP multiaddresses to bind: one of IPv4, one of IPv6, or one of each. Port 0 takes any free port."""
    announce: Literal["auto"] | Annotated[list[str], msgspec.Meta(min_length=1, max_length=8)] = "auto"
    """UDP multiaddresses that others reach this node at. "auto": the listen addresses if they name a host, and then
    the address that a majority of peers sees."""
    client_mode: bool = False
    """Ask, but do not serve, and be in nobody's routing table."""
    ip_limits: Literal["public", "all", "off"] = "public"
    """Whom the limits per address and network concern: "public" addresses only, "all", or nobody ("off")."""


SHARED: Final = {
    "wire": frozenset({"listen", "announce", "client_mode", "ip_limits"}),
    "routing": frozenset({"client_mode", "ip_limits", "announce"}),
    "store": frozenset({"ip_limits"}),
    "api": frozenset({"client_mode"}),
}
"""Settings of actors that section `network` gives; they are not set in the actors' own sections."""


class TalkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `talk`."""

    handlers: dict[str, str] = {}
    """Who answers the TALK_REQs of a protocol: protocol = "module:function". The function takes the asking node's
    id, its (host, port) and the request, and returns the response; it runs in the wire's process, which waits for
    it."""


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `log`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error. SIGHUP to an actor reads it from the file again."""
    format: Literal["text", "json"] = "text"
    """text is key=value; json is an object a line."""
    directory: str = ""
    """Write here, to a file an actor, rotated at 10 MB with 5 old ones kept. Empty: to standard error."""


class Sections(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as a whole."""

    node: NodeConfig = NodeConfig()
    network: NetworkConfig
    wire: WireSettings = WireSettings()
    routing: RoutingSettings = RoutingSettings()
    store: StoreSettings = StoreSettings()
    api: ApiSettings = ApiSettings()
    talk: TalkConfig = TalkConfig()
    log: LogConfig = LogConfig()


_S = TypeVar("_S", bound=msgspec.Struct)


class Config:
    """A validated configuration: the sections, and what follows from them."""

    def __init__(self, sections: Sections, source_of: Callable[[str], str], verify: bool) -> None:
        """source_of: the file or variable that a key came from. Raises ConfigError, naming it, when an address, a
        record or a path does not hold."""
        self.node = sections.node
        self.network = sections.network
        self.talk = sections.talk
        self.log = sections.log
        self._source_of = source_of
        self.listen: list[Endpoint] = [self._listen(text) for text in self.network.listen]
        self.bootstrap: list[SignedPeerRecord] = [
            self._bootstrap(uri, verify) for uri in self.network.bootstrap
        ]
        self.ip_versions: IpVersions = frozenset(map(ip_version, self.listen))
        self._check_listen()
        self._check_reach()
        self._check_announce()
        self.wire = self._with_shared("wire", sections.wire)
        self.routing = self._with_shared("routing", sections.routing)
        self.store = self._with_shared("store", sections.store)
        self.api = self._with_paths("api", self._with_shared("api", sections.api), _CURVE_PATHS)
        for endpoint in self.api.endpoints:
            self._check_endpoint(endpoint)
        self.data_dir = self._path("node.data_dir", self.node.data_dir).absolute()
        self.run_dir = self._path(
            "node.run_dir", self.node.run_dir or str(self.data_dir / RUN_DIR)
        ).absolute()
        self.key_file = self._path("node.key_file", self.node.key_file or str(self.data_dir / "key"))
        self.log_dir = self._path("log.directory", self.log.directory) if self.log.directory else None

    def _error(self, key: str, problem: object) -> ConfigError:
        return ConfigError(f"{self._source_of(key)}: {key}: {problem}")

    def _path(self, key: str, text: str) -> Path:
        """Return a path that the system and ZeroMQ understand, with ~ for the home directory."""
        try:
            if "\0" not in text:
                return Path(text).expanduser()
        except RuntimeError:
            pass
        raise self._error(key, f"found {text!r}, expected a path; ~name only for a user there is")

    def _with_paths(self, section: str, settings: _S, names: Sequence[str]) -> _S:
        """Return an actor's settings with those that are paths, and given, as the system understands them."""
        given = {name: text for name in names if (text := getattr(settings, name))}
        paths = {name: str(self._path(f"{section}.{name}", text)) for name, text in given.items()}
        return msgspec.structs.replace(settings, **paths)

    def _check_endpoint(self, text: str) -> None:
        if not is_endpoint(text):
            raise self._error(
                "api.endpoints", f"found {text!r}, expected ipc:///path or tcp://host:port, port 0 to 65535"
            )

    def _with_shared(self, section: str, settings: _S) -> _S:
        """Return an actor's settings with those of section `network` that it has a field for."""
        network = {name: getattr(self.network, name) for name in self.network.__struct_fields__}
        shared = SHARED[section].intersection(settings.__struct_fields__)
        return msgspec.structs.replace(settings, **{name: network[name] for name in shared})

    def _check_listen(self) -> None:
        """With two sockets of a kind an answer could leave from another address than the one that was asked."""
        if len(self.listen) > len(self.ip_versions):
            raise self._error(
                "network.listen",
                f"found {self.network.listen!r}, expected at most one address of IPv4 and one of IPv6; 0.0.0.0 and :: "
                "stand for all of this machine",
            )

    def _check_reach(self) -> None:
        if self.bootstrap and not any(r.reached_over(self.ip_versions).endpoint for r in self.bootstrap):
            raise self._error(
                "network.bootstrap",
                "none of these nodes has an address of an IP version that network.listen binds; listen on both, /ip4/… "
                "and /ip6/…",
            )

    def _check_announce(self) -> None:
        announce = [] if self.network.announce == "auto" else self.network.announce
        addresses = [self._announced(text) for text in announce]
        size = largest_record(addresses)
        if size > MAX_RECORD:
            raise self._error(
                "network.announce",
                f"found {len(addresses)} addresses, which make a record of {size} bytes, expected at most {MAX_RECORD}",
            )

    def _announced(self, text: str) -> bytes:
        try:
            data = parse_address(text)
        except InvalidParams as error:
            raise self._error("network.announce", error) from None
        if endpoint_of(data.removesuffix(b"\0\0") + b"\0\1" if data.endswith(b"\0\0") else data) is None:
            raise self._error(
                "network.announce",
                f"found {text!r}, expected an address that others can reach: /ip4|ip6/…/udp/…",
            )
        return data

    def _listen(self, text: str) -> Endpoint:
        try:
            return parse_listen(text)
        except ConfigError as error:
            raise self._error("network.listen", error) from None

    def _bootstrap(self, uri: str, verify: bool) -> SignedPeerRecord:
        try:
            record = record_from_uri(uri, verified=not verify)
        except InvalidRecord as error:
            raise self._error("network.bootstrap", f"found {uri[:24]!r}…: {error}") from None
        if record.endpoint is None:
            raise self._error("network.bootstrap", f"{uri[:24]!r}… holds no UDP address")
        return record


def load_config(
    path: Path | None = None, environ: Mapping[str, str] = os.environ, *, verify: bool = True
) -> Config:
    """Return the configuration in a file (default: $CODEXDHT_CONFIG, else config/codexdht.toml) and the environment.

    verify: check the signatures of the bootstrap records. Actors that make no use of them leave that to routing, as it
    takes libsecp256k1's tables, 1 MB in each.

    Raises ConfigError: one line with file or variable, key, what was found and what is expected.
    """
    try:
        return _load(path or Path(environ.get(FILE_VARIABLE, "config/codexdht.toml")), environ, verify)
    except ConfigError as error:
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error))
        raise ConfigError(text) from None


def _load(file: Path, environ: Mapping[str, str], verify: bool) -> Config:
    values = _read(file)
    sources = _override(values, environ)
    _check_shared(values, sources, file)
    try:
        sections = msgspec.convert(values, Sections, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), values, sources, str(file))) from None
    return Config(sections, lambda key: sources.get(key, str(file)), verify)


def _check_shared(values: dict[str, Any], sources: dict[str, str], file: Path) -> None:
    for section, keys in SHARED.items():
        table = values.get(section, {})
        for key in sorted(keys.intersection(table if isinstance(table, dict) else ())):
            source = sources.get(f"{section}.{key}", file)
            raise ConfigError(
                f"{source}: {section}.{key}: found {_shown(table[key])}, expected in section network instead"
            )


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read: {error.strerror}; set {FILE_VARIABLE} or --config"
        ) from None
    except ValueError as error:  # also of an integer that has more digits than Python reads
        raise ConfigError(f"{file}: is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file}: is not TOML that can be read: it is nested too deeply") from None


def _override(values: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put the environment's settings into values; return the variable that each overridden key came from."""
    sources: dict[str, str] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(_PREFIX) or variable in _NOT_SETTINGS:
            continue
        section, separator, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if not separator or section not in Sections.__struct_fields__:
            known = ", ".join(Sections.__struct_fields__)
            raise ConfigError(
                f"environment: {variable}: expected {_PREFIX}SECTION__KEY with a section of {known}"
            )
        _check_utf8(variable, f"{section}.{key}", text)
        table = values.setdefault(section, {})
        if isinstance(table, dict):  # else it is refused as no table
            table[key] = _parse(section, key, text)
        sources[f"{section}.{key}"] = variable
    return sources


def _check_utf8(variable: str, key: str, text: str) -> None:
    """What the environment holds beside UTF-8 comes as surrogates, which nothing can encode."""
    try:
        (key + text).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{variable}: {key}: found {_shown(text)}, expected UTF-8") from None


def _parse(section: str, key: str, text: str) -> Any:
    """Read a value from text: a list where the key holds one. Numbers and booleans msgspec reads from text itself."""
    if text[:1] in ("[", "{"):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            return text
    holds_list = "list[" in str(get_type_hints(get_type_hints(Sections)[section]).get(key))
    if not holds_list or text == "auto":
        return text
    return [part.strip() for part in text.split(",") if part.strip()]


def _explain(error: str, values: dict[str, Any], sources: dict[str, str], file: str) -> str:
    """Turn msgspec's "Expected …, got … - at `$.section.key`" into one line of file, key, found, expected."""
    problem, _, path = error.partition(" - at ")
    keys = path.strip("`").removeprefix("$.").split(".") if path else []
    found: Any = values
    for key in keys:
        found = found.get(key.split("[")[0], "nothing") if isinstance(found, dict) else found
    where = ".".join(keys)
    source = sources.get(where, file)
    shown = f": found {_shown(found)}" if keys and not isinstance(found, dict) else ""
    return f"{source}: {where or 'file'}{shown}: {problem[0].lower()}{problem[1:]}"


def _shown(value: object) -> str:
    try:
        return repr(value)[:_LONGEST_SHOWN]
    except ValueError:
        return "an integer of thousands of digits"
