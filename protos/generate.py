"""Generate the Python code of the .proto files: `python -m protos.generate [FOLDER]`.

The generator is pinned and lives in a folder of its own, apart from the environment's packages. Generated code refuses
to run under a protobuf or grpcio older than its generator. So an old generator keeps the floors in setup.cfg low,
whatever newer versions are installed here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

GENERATOR = "grpcio-tools==1.66.2"  # writes code for protobuf>=5.27.2 and grpcio>=1.66.2
PROTOS = Path(__file__).resolve().parent
GENERATOR_FOLDER = PROTOS.parent / "build" / "protoc"


def install_generator(folder: Path = GENERATOR_FOLDER) -> None:
    """Install the pinned generator into a folder with pip, unless it is there."""
    name, version = GENERATOR.split("==")
    if (folder / f"{name.replace('-', '_')}-{version}.dist-info").is_dir():
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(folder), GENERATOR], check=True)


def generate(out: Path, generator: Path | None = GENERATOR_FOLDER) -> list[Path]:
    """Write the generated files of every .proto to out, and return their paths.

    generator: the folder with the pinned generator, or None for the environment's own grpcio-tools.
    """
    out.mkdir(parents=True, exist_ok=True)
    sources = [path.name for path in sorted(PROTOS.glob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    environment = {**os.environ, "PYTHONPATH": str(generator)} if generator else None
    subprocess.run([*command, *outputs, *sources], check=True, env=environment, cwd=PROTOS)
    written = sorted(path for path in out.glob("*_pb2*.py*"))
    for path in written:
        path.write_text(import_from_package(path.read_text()))
    return written


def import_from_package(code: str) -> str:
    """Make generated top-level imports of our own messages relative to the package `protos`.

    protoc writes `import x_pb2 as x__pb2`, which works only with this folder on sys.path.
    """
    return re.sub(r"^import (\w+_pb2) as ", r"from protos import \1 as ", code, flags=re.MULTILINE)


def main() -> None:
    """Generate into the folder given on the command line, by default this package."""
    install_generator()
    for path in generate(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PROTOS):
        print(path)


if __name__ == "__main__":
    main()
