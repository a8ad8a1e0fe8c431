"""The command `cloud-server devices`: who may use a server, changed while it runs."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from splitnet.enrolment import DEFAULT_ENROL_PORT, checked_name, code_key, new_code
from splitnet.enrolment_link import enrolment_link
from splitnet.errors import ConfigError
from splitnet.settings import add_command, add_commands, count, number
from splitnet.text_table import text_table

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands = _SubParsersAction[argparse.ArgumentParser]
    from cloud_server.access.authority import AccessFolder
    from cloud_server.access.device_store import DeviceRecord

Tell = Callable[[argparse.Namespace], str]

DEFAULT_MINUTES = 15.0
MAX_MINUTES = 7 * 24 * 60.0


def add_devices(commands: Commands, saying: Callable[[argparse.Namespace], int]) -> None:
    """Add the command and its own commands. saying: runs one that returns what is to be printed, as `tell`."""
    devices = add_command(commands, "devices", "say which devices may use a server, in force at once")
    own = add_commands(devices)
    init = _add(
        own, saying, "init", _init, "make the folder that `cloud-server serve --access` takes, or renew its certificate"
    )
    init.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="name or address that devices reach the server by; may be given several times",
    )
    invite = _add(own, saying, "invite", _invite, "print a code, and a QR code, that enrols a device once")
    invite.add_argument("name", metavar="NAME", help="what the device is called from then on")
    invite.add_argument(
        "--minutes",
        type=number,
        default=DEFAULT_MINUTES,
        metavar="X",
        help=f"how long it is good for (default: {DEFAULT_MINUTES:g})",
    )
    invite.add_argument(
        "--server",
        default=f"SERVER:{DEFAULT_ENROL_PORT}",
        metavar="HOST:PORT",
        help="where devices are enrolled, for the command and the QR code that are shown",
    )
    invite.add_argument("--no-qr", action="store_true", help="print no QR code")
    _named(
        _add(
            own,
            saying,
            "token",
            _token,
            "print a new token for a device that cannot be enrolled; the earlier one is void",
        )
    )
    listing = _add(own, saying, "list", _list, "show the devices and the open invitations")
    listing.add_argument("--json", action="store_true", help="print JSON instead of tables")
    _named(_add(own, saying, "revoke", _revoke, "let a device come no more; its sessions end within seconds"))
    allowing = _named(
        _add(own, saying, "allow-bundle", _allow_bundle, "let a device use these bundles only; none given: all")
    )
    allowing.add_argument(
        "bundle", nargs="*", metavar="BUNDLE", help="name of a bundle, or the beginning of its digest"
    )
    limiting = _named(
        _add(own, saying, "limit", _limit, "give a device limits of its own; what is not given is the server's")
    )
    limiting.add_argument("--sessions", type=count, metavar="N", help="sessions and calls open at once")
    limiting.add_argument("--fps", type=_positive, metavar="X", help="frames a second, of all its sessions together")


def _add(
    commands: Commands, saying: Callable[[argparse.Namespace], int], name: str, tell: Tell, text: str
) -> argparse.ArgumentParser:
    parser = add_command(commands, name, text)
    parser.add_argument(
        "--access", type=Path, metavar="DIR", help="the access folder (default: ~/.local/share/slimsplit/access)"
    )
    parser.set_defaults(command=saying, tell=tell)
    return parser


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", metavar="NAME", help="the device")
    return parser


def _positive(text: str) -> float:
    found = number(text)
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return found


def _folder(arguments: argparse.Namespace) -> AccessFolder:
    from cloud_server.access.authority import AccessFolder, default_folder

    return AccessFolder(arguments.access or default_folder())


def _init(arguments: argparse.Namespace) -> str:
    folder = _folder(arguments)
    is_new = folder.init(arguments.host, datetime.now(timezone.utc))
    return (
        f"{'made' if is_new else 'renewed the certificate of the server in'} {folder.path}\n"
        f"serve with it:    cloud-server serve --listen 0.0.0.0:50051 --access {folder.path}\n"
        "invite a device:  cloud-server devices invite NAME"
    )


def _invite(arguments: argparse.Namespace) -> str:
    name, folder = checked_name(arguments.name), _folder(arguments)
    if not 0 < arguments.minutes <= MAX_MINUTES:
        raise ConfigError(f"--minutes lies between 0 and {MAX_MINUTES:g}")
    code, now = new_code(), time.time()
    folder.store.invite(name, code_key(code), now, now + 60 * arguments.minutes)
    lines = [
        f"code for {name}, good once and for {arguments.minutes:g} minutes:  {code}",
        f"on the device:  edge-client enrol --server {arguments.server} --code {code}",
    ]
    if not arguments.no_qr:
        lines += ["or show this to its camera:  edge-client enrol --qr 0", _qr(enrolment_link(arguments.server, code))]
    return "\n".join(lines)


def _qr(text: str) -> str:
    import segno

    drawn = StringIO()
    segno.make(text, error="m").terminal(drawn, compact=True)
    return drawn.getvalue().rstrip("\n")


def _token(arguments: argparse.Namespace) -> str:
    return _folder(arguments).store.give_token(checked_name(arguments.name), time.time())


def _list(arguments: argparse.Namespace) -> str:
    folder, now = _folder(arguments), time.time()
    devices, invitations = folder.store.devices(), folder.store.invitations(now)
    if arguments.json:
        invited = [{"name": one.name, "expires": _date(one.expires)} for one in invitations]
        return json.dumps({"devices": [_facts(device) for device in devices], "invitations": invited}, indent=1)
    rows = [tuple(_shown(value) for value in _facts(device).values()) for device in devices]
    table = text_table(("name", "since", "key", "token", "revoked", "bundles", "sessions", "fps"), rows, ("name",))
    left = (f"invited: {one.name}, for {(one.expires - now) / 60:.0f} more minutes" for one in invitations)
    return "\n".join([table, *left])


def _revoke(arguments: argparse.Namespace) -> str:
    _folder(arguments).store.revoke(arguments.name, time.time())
    return f"{arguments.name} may come no more"


def _allow_bundle(arguments: argparse.Namespace) -> str:
    _folder(arguments).store.allow_bundles(arguments.name, arguments.bundle or None)
    return f"{arguments.name} may use {', '.join(arguments.bundle) or 'every bundle'}"


def _limit(arguments: argparse.Namespace) -> str:
    _folder(arguments).store.limit(arguments.name, arguments.sessions, arguments.fps)
    sessions = "as many sessions as all" if arguments.sessions is None else f"{arguments.sessions} sessions"
    fps = "any rate" if arguments.fps is None else f"{arguments.fps:g} frames/s"
    return f"{arguments.name} may have {sessions}, {fps}"


def _facts(device: DeviceRecord) -> dict[str, object]:
    return {
        "name": device.name,
        "since": _date(device.since),
        "key_id": device.key_id,
        "token": device.token_hash is not None,
        "revoked": None if device.revoked is None else _date(device.revoked),
        "bundles": None if device.bundles is None else list(device.bundles),
        "max_sessions": device.max_sessions,
        "max_fps": device.max_fps,
    }


def _shown(value: object) -> str:
    if value is None or value is False:
        return "-"
    return "yes" if value is True else " ".join(value) if isinstance(value, list) else str(value)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
