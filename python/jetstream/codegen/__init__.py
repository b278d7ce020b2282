"""Code in other languages for services: today TypeScript, for `jetstream gen ts`.

Annotations are read as the plans read them, so what is written means the same bytes. Nothing here
opens a connection.
"""

from jetstream.codegen._errors import GenerationError as GenerationError
from jetstream.codegen._files import Change as Change
from jetstream.codegen._files import apply as apply
from jetstream.codegen._files import changes as changes
from jetstream.codegen._files import diff as diff
from jetstream.codegen._modules import TypeScriptOptions as TypeScriptOptions
from jetstream.codegen._modules import typescript as typescript

__all__ = [
    "Change",
    "GenerationError",
    "TypeScriptOptions",
    "apply",
    "changes",
    "diff",
    "typescript",
]
