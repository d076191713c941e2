"""One ecosystem of games a file; the file's name is the prefix of its games' names.

An adapter module offers `names() -> list[str]` (full names, quickly, empty when the package is missing) and
`make(rest) -> Game` (what follows `PREFIX/`); optionally `wrap(maker, made, name) -> Game | None`, which turns an
author's environment into a game when it is of that ecosystem, and `PACKAGE = (module, distribution, extra)` where a
package must be installed.
"""
