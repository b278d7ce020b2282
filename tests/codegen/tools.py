"""What compiles and formats generated TypeScript: the tools of `typescript/`, if they are there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from jetstream.codegen import TypeScriptOptions, typescript

PACKAGE = Path(__file__).parents[2] / "typescript"

_BIN = PACKAGE / "node_modules" / ".bin"

needs_tools = pytest.mark.skipif(
    shutil.which("node") is None or not (_BIN / "tsc").exists(),
    reason="needs Node 20 or newer, and `make node`",
)


def generate(folder: Path, *services: type, **options: str) -> Path:
    """Writes services into `folder`/api."""
    api = folder / "api"
    api.mkdir()
    for name, text in typescript(services, TypeScriptOptions(**options)).items():  # type: ignore[arg-type]
        (api / name).write_text(text)
    return api


def compile_all(folder: Path, resolution: str = "nodenext") -> str:
    """What the compiler says of a folder, as strict as it can be; nothing if all is well."""
    bundled = resolution == "bundler"
    options = {
        "target": "es2022",
        "module": "esnext" if bundled else "nodenext",
        "moduleResolution": resolution,
        "lib": ["es2022", "esnext.disposable", "dom", "dom.iterable", "dom.asynciterable"],
        "types": ["node"],
        "typeRoots": [str(PACKAGE / "node_modules" / "@types")],
        "paths": {
            "jetstream-client": [str(PACKAGE / "src" / "index.ts")],
            "jetstream-client/*": [str(PACKAGE / "src" / "*.ts")],
        },
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "isolatedModules": True,
        "noFallthroughCasesInSwitch": True,
        "noImplicitOverride": True,
        "noImplicitReturns": True,
        "noPropertyAccessFromIndexSignature": True,
        "noUncheckedIndexedAccess": True,
        "noUnusedLocals": True,
        "noUnusedParameters": True,
        "verbatimModuleSyntax": True,
        "allowImportingTsExtensions": True,
        "noEmit": True,
    }
    config = {"compilerOptions": options, "include": ["**/*.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    (folder / "package.json").write_text('{"type": "module"}')
    return _run(str(_BIN / "tsc"), "--project", str(folder), "--pretty", "false")


def misformatted(folder: Path) -> str:
    """What prettier would write otherwise."""
    return _run(str(_BIN / "prettier"), "--print-width=100", "--list-different", str(folder))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
