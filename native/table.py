"""The table of what is in the objects, in C: ``python native/table.py FOLDER... > table.c``, a folder a level."""

import json
import sys
from pathlib import Path

_HEAD = '/* Made by native/table.py. */\n#include "native.h"\n#define HIDDEN __attribute__((visibility("hidden")))\n'


def quoted(text):
    """Return a C string; names and letters have no character that would need more."""
    return f'"{text}"'


class Table:
    """Collects declarations, and lists that use them."""

    def __init__(self):
        self.lines, self.declared = [], {}

    def declare(self, declaration, symbol):
        """Declare what has a symbol with dots in the objects; return its name in C."""
        if symbol not in self.declared:
            self.declared[symbol] = name = f"s{len(self.declared)}"
            self.lines.append(f"HIDDEN extern {declaration.format(name)} __asm__({quoted(symbol)});")
        return self.declared[symbol]

    def define(self, declaration, symbol):
        """Define a variable that the objects name."""
        name = f"s{len(self.declared)}"
        self.declared[symbol] = name
        self.lines.append(f"HIDDEN {declaration.format(name)} __asm__({quoted(symbol)});")
        return name

    def list(self, kind, name, rows):
        """Write a list of structures, which ends with a zero."""
        body = "".join(f"    {row},\n" for row in [*rows, "{0}" if kind.startswith("struct") else "0"])
        self.lines.append(f"static {'const ' if '*' not in kind else ''}{kind}{name}[] = {{\n{body}}};")

    def level(self, found, number):
        """Write the lists of a level; return its row in the list of levels."""
        code = "void {}(void)"
        symbols = sorted(found["functions"].items())
        self.list("struct symbol ", f"symbols{number}", [
            f"{{{quoted(name)}, (void *){self.declare(code, symbol)}}}" for name, symbol in symbols
        ])  # fmt: skip
        self.list("struct entry ", f"entries{number}", [
            f"{{{quoted(name)}, {quoted(operands)}, '{result}', "
            f"{{{', '.join(self.declare('void {}(int64_t *)', door) for door in doors)}}}}}"
            for name, (operands, result, *doors) in sorted(found["entries"].items())
        ])  # fmt: skip
        self.list("struct constant ", f"constants{number}", [
            f"{{{quoted(name)}, &{self.define('int64_t {}', symbol)}}}"
            for name, symbol in sorted(found["machine"].items())
        ])  # fmt: skip
        keys = [f"&{self.define('pthread_key_t {}', symbol)}" for symbol in found["scratch"]]
        self.list("pthread_key_t *const ", f"keys{number}", keys)
        lists = (f"{name}{number}" for name in ("symbols", "entries", "constants", "keys"))
        return f"    {{{quoted(found['level'])}, {len(symbols)}, {', '.join(lists)}}},\n"


def table(found):
    """Return the C source for what ``symbols.json`` says of each level, the highest last."""
    digests = {each["digest"] for each in found}
    if len(digests) != 1:
        raise ValueError("the levels were made of different sources")
    made = Table()
    rows = [made.level(each, number) for number, each in enumerate(found)]
    levels = f"const struct level levels[] = {{\n{''.join(rows)}    {{0}}\n}};\n"
    return "\n".join([_HEAD, *made.lines, levels, f"const char digest[] = {quoted(digests.pop())};\n"])


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[1:]]
    sys.stdout.write(table([json.loads((folder / "symbols.json").read_text()) for folder in folders]))
