"""The commands `cloud-server keys`, `bundle`, `publish` and `rollout`: signed models, and which devices get them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from splitnet.errors import ConfigError
from splitnet.settings import add_command, add_commands, count
from splitnet.text_table import text_table

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands = _SubParsersAction[argparse.ArgumentParser]
    from cloud_server.delivery.fleet_store import FleetStore, FleetView
    from cloud_server.delivery.keys import KeyFolder
    from cloud_server.delivery.repository import Repository
    from cloud_server.delivery.rollout import KnownDevice, Rollout
    from splitnet.updates.artefact import Artefact

Tell = Callable[[argparse.Namespace], str]
Saying = Callable[[argparse.Namespace], int]

DEFAULT_MAX_FAILURES = 3


def add_updates(commands: Commands, saying: Saying) -> None:
    """Add the commands. saying: runs one that returns what is to be printed, as `tell`."""
    keys = add_commands(add_command(commands, "keys", "make the keys that devices trust for their models"))
    _with_keys(_add(keys, saying, "new", _new, "make keys and an empty list of models; prints what devices pin"))
    rotating = _with_keys(
        _add(keys, saying, "rotate", _rotate, "replace a key; devices follow, whatever they have missed")
    )
    rotating.add_argument(
        "--role", choices=("root", "targets", "online"), default="targets", help="whose key (default: targets)"
    )
    _add(keys, saying, "show", _show, "print what devices pin, and until when the list is believed")

    bundle = add_commands(add_command(commands, "bundle", "sign models for devices"))
    signing = _with_keys(_add(bundle, saying, "sign", _sign, "sign a bundle's device half as the next version"))
    signing.add_argument("bundle", type=Path, metavar="DIR", help="the bundle")
    signing.add_argument("--note", default="", metavar="TEXT", help="for people, in lists")
    signing.add_argument("--no-local", action="store_true", help="without the detector that devices run alone")
    signing.add_argument(
        "--update",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.ssu",
        help="an update to this bundle (`python -m training update`), for devices that have its base; several times",
    )
    inspecting = add_command(bundle, "inspect", "show what an update file holds, and what it is for")
    inspecting.add_argument("update", type=Path, metavar="FILE.ssu", help="the file")
    inspecting.add_argument("--json", action="store_true", help="print JSON instead of a table")
    inspecting.set_defaults(command=saying, tell=_inspect)
    listing = _add(bundle, saying, "list", _list, "show what is signed")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")

    publishing = _add(commands, saying, "publish", _publish, "let devices have a signed version; again to widen it")
    publishing.add_argument("version", type=count, metavar="VERSION", help="as `cloud-server bundle list` shows it")
    publishing.add_argument(
        "--to", required=True, metavar="WHOM", help="all, the name of a group, or a share of the devices such as 10%%"
    )
    publishing.add_argument(
        "--max-concurrent", type=count, default=0, metavar="N", help="most devices that change at once (default: all)"
    )
    publishing.add_argument(
        "--max-failures",
        type=count,
        default=DEFAULT_MAX_FAILURES,
        metavar="N",
        help=f"pause when so many devices have gone back by themselves (default: {DEFAULT_MAX_FAILURES})",
    )

    rollout = add_commands(add_command(commands, "rollout", "watch and steer what was published"))
    status = _add(rollout, saying, "status", _status, "show rollouts and devices")
    status.add_argument("--json", action="store_true", help="print JSON instead of tables")
    for name, tell, text in (
        ("pause", _pause, "let no further device change; those in their trial finish it"),
        ("resume", _resume, "go on with what was paused"),
        ("abort", _abort, "take a version back for good: devices that have it keep it until a newer one is published"),
    ):
        _add(rollout, saying, name, tell, text).add_argument("version", type=count, metavar="VERSION", help="which")
    grouping = _add(rollout, saying, "group", _group, "say which devices a group has; none: no such group any more")
    grouping.add_argument("group", metavar="GROUP", help="its name, for `publish --to`")
    grouping.add_argument("device", nargs="*", metavar="DEVICE", help="the devices")


def _add(commands: Commands, saying: Saying, name: str, tell: Tell, text: str) -> argparse.ArgumentParser:
    parser = add_command(commands, name, text)
    parser.add_argument(
        "--updates",
        type=Path,
        metavar="DIR",
        help="the folder with signed models (default: ~/.local/share/slimsplit/updates)",
    )
    parser.set_defaults(command=saying, tell=tell)
    return parser


def _with_keys(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="DIR",
        help="folder of the private keys of root and targets, best on a disk that is put away "
        "(default: ~/.local/share/slimsplit/keys)",
    )
    return parser


def _repository(arguments: argparse.Namespace, made: bool = True) -> Repository:
    from cloud_server.delivery.repository import Repository, default_repository

    repository = Repository(arguments.updates or default_repository())
    if made:
        repository.check_made()
    return repository


def _keys(arguments: argparse.Namespace) -> KeyFolder:
    from cloud_server.delivery.keys import KeyFolder, default_keys

    return KeyFolder(arguments.keys or default_keys())


def _store(repository: Repository) -> FleetStore:
    from cloud_server.delivery.fleet_store import FleetStore

    return FleetStore(repository.path)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _new(arguments: argparse.Namespace) -> str:
    repository, keys = _repository(arguments, made=False), _keys(arguments)
    fingerprint = repository.make(keys, _now())
    return (
        f"keys of root and targets: {keys.path} (keep them off the server); lists and files: {repository.path}\n"
        "devices that enrol from now on trust them; others are told to:  "
        f"edge-client run --trust {fingerprint}"
    )


def _rotate(arguments: argparse.Namespace) -> str:
    version = _repository(arguments).rotate(arguments.role, _keys(arguments), _now())
    return f"the {arguments.role} key is new; root {version} says so, signed by the old root key" + (
        " and the new one" if arguments.role == "root" else ""
    )


def _show(arguments: argparse.Namespace) -> str:
    repository = _repository(arguments)
    return (
        f"pin:  edge-client run --trust {repository.fingerprint}\n"
        f"the list is believed until {repository.timestamp_expires().isoformat(timespec='minutes')}; a running server "
        "vouches for it every day"
    )


def _sign(arguments: argparse.Namespace) -> str:
    from cloud_server.delivery.signing import sign_bundle

    repository = _repository(arguments)
    with_local = not arguments.no_local
    keys = _keys(arguments)
    signed = sign_bundle(arguments.bundle, repository, keys, _now(), arguments.note, with_local, arguments.update)
    forms = ", ".join(_in_words(one) for one in signed)
    first = signed[0]
    return (
        f"version {first.version}: {first.name} {first.result[:12]} ({forms})\n"
        f"let devices have it:  cloud-server publish {first.version} --to 10%"
    )


def _in_words(one: Artefact) -> str:
    size = f"{one.stored_bytes / 1e6:.2f} MB"
    return f"update from {one.base[:12]} {size}" if one.base else f"{one.form} {size}"


def _inspect(arguments: argparse.Namespace) -> str:
    from splitnet.regular_file import read_regular
    from splitnet.updates.artefact import MAX_FILE_BYTES
    from splitnet.updates.update_file import read_update

    try:
        update = read_update(read_regular(arguments.update, MAX_FILE_BYTES))
    except OSError as error:
        raise ConfigError(f"{arguments.update} cannot be read ({error.strerror})") from error
    if arguments.json:
        files = [asdict(file) for file in update.files]
        return json.dumps({"name": update.name, "base": update.base, "result": update.result, "files": files}, indent=1)
    rows = [(file.name, file.way, f"{file.part_bytes:,}", f"{file.bytes:,}") for file in update.files]
    return (
        f"makes {update.name} {update.result[:12]} of bundle {update.base[:12]}\n"
        f"{text_table(('file', 'way', 'bytes sent', 'bytes'), rows, ('file', 'way'))}"
    )


def _list(arguments: argparse.Namespace) -> str:
    artefacts = _repository(arguments).artefacts()
    if arguments.json:
        return json.dumps([one.to_json() for one in artefacts], indent=1)
    heads = ("version", "bundle", "kind", "form", "digest", "from", "KB", "note")
    return text_table(heads, [_row(one) for one in artefacts], ("bundle", "kind", "form", "digest", "from", "note"))


def _row(one: Artefact) -> tuple[str, ...]:
    digests = one.result[:12], one.base[:12] or "-"
    return str(one.version), one.name, one.kind, one.form, *digests, f"{one.stored_bytes / 1e3:.1f}", one.note or "-"


def _publish(arguments: argparse.Namespace) -> str:
    from cloud_server.delivery.rollout import Rollout, check_audience

    repository, audience = _repository(arguments), check_audience(arguments.to)
    artefact = _of_version(repository, arguments.version)
    _store(repository).publish(
        Rollout(
            artefact.version,
            artefact.name,
            artefact.result,
            audience,
            arguments.max_concurrent,
            arguments.max_failures,
        )
    )
    return (
        f"version {artefact.version} of {artefact.name} goes to {audience}, within seconds where a server runs that "
        f"serves bundle {artefact.result[:12]}\nwatch it:  cloud-server rollout status"
    )


def _of_version(repository: Repository, version: int) -> Artefact:
    for artefact in repository.artefacts():
        if artefact.version == version:
            return artefact
    raise ConfigError(f"version {version} is not signed: `cloud-server bundle list` shows what is")


def _pause(arguments: argparse.Namespace) -> str:
    return _set_state(arguments, "paused", "is paused")


def _resume(arguments: argparse.Namespace) -> str:
    return _set_state(arguments, "active", "goes on")


def _abort(arguments: argparse.Namespace) -> str:
    return _set_state(arguments, "aborted", "is aborted: no device gets it any more, and trials go back")


def _set_state(arguments: argparse.Namespace, state: str, words: str) -> str:
    _store(_repository(arguments)).set_state(arguments.version, state)
    return f"version {arguments.version} {words}"


def _group(arguments: argparse.Namespace) -> str:
    from cloud_server.delivery.rollout import check_audience

    if check_audience(arguments.group) == "all" or arguments.group.endswith("%"):
        raise ConfigError(f"a group cannot be called {arguments.group}")
    _store(_repository(arguments)).set_group(arguments.group, arguments.device)
    return f"group {arguments.group}: {' '.join(arguments.device) or 'no device'}"


def _status(arguments: argparse.Namespace) -> str:
    view, now = _store(_repository(arguments)).view(), time.time()
    rollouts = [_rollout_facts(one, view) for one in view.rollouts]
    devices = [_device_facts(name, one, now) for name, one in view.devices.items()]
    if arguments.json:
        return json.dumps({"rollouts": rollouts, "devices": devices}, indent=1)
    texts = ("bundle", "to", "state", "note", "device", "phase", "reason", "digest")
    parts = []
    for rows in (rollouts, devices):
        if rows:
            parts.append(
                text_table(tuple(rows[0]), [tuple(_shown(one) for one in row.values()) for row in rows], texts)
            )
    return "\n\n".join(parts) or "nothing was published yet: cloud-server publish VERSION --to 10%"


def _rollout_facts(rollout: Rollout, view: FleetView) -> dict[str, object]:
    from cloud_server.delivery.rollout import failures_of, is_in

    concerned = [
        device
        for name, device in view.devices.items()
        if is_in(rollout.audience, name, view.groups.get(name, frozenset()), rollout.name)
    ]
    has = sum(device.has(rollout) for device in concerned)
    busy = sum(device.state.phase.is_busy and device.offered == rollout.version for device in concerned)
    return {
        "version": rollout.version,
        "bundle": rollout.name,
        "to": rollout.audience,
        "state": rollout.state,
        "devices": len(concerned),
        "done": has,
        "under_way": busy,
        "went_back": failures_of(rollout.version, view.devices.values()),
        "note": rollout.note,
    }


def _device_facts(name: str, device: KnownDevice, now: float) -> dict[str, object]:
    state = device.state
    done = (
        f" {100 * state.done_bytes // state.total_bytes} %"
        if state.phase == "downloading" and state.total_bytes
        else ""
    )
    return {
        "device": name,
        "version": state.version,
        "digest": state.digest[:12],
        "phase": f"{state.phase.value}{done}",
        "offered": device.offered,
        "seen_s_ago": round(max(0.0, now - device.seen)),
        "reason": state.reason,
    }


def _shown(value: object) -> str:
    return str(value) if value != "" else "-"
