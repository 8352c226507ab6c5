"""`make docs`: a page of the API for every public module of the package. `python .ci/docs/build.py FOLDER`

Modules are listed here and not by pdoc, which leaves out those that a package's `__all__` does not name.
"""

from __future__ import annotations

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import tmal_core

HERE = Path(__file__).parent
# pdoc looks for the types of a NamedTuple's fields in the wrong module and shows them as they are written: no harm.
FIELDS_OF_NAMED_TUPLES = r"Error parsing type annotation ForwardRef\(.*\) for \S+\.__init__\."


def public_modules() -> list[str]:
    """Names of all modules without an underscore in front."""
    found = [module.name for module in pkgutil.walk_packages(tmal_core.__path__, "tmal_core.")]
    return ["tmal_core", *(name for name in found if "._" not in name)]


def build(folder: Path) -> int:
    """Write the pages; how many."""
    # Formulas in docstrings are plain text, and without MathJax a page needs nothing from the network.
    pdoc.render.configure(docformat="google", show_source=False, template_directory=HERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # pdoc warns of what it cannot show
        warnings.filterwarnings("ignore", FIELDS_OF_NAMED_TUPLES)
        modules = {name: pdoc.doc.Module.from_name(name) for name in public_modules()}
        for module in modules.values():
            for name in getattr(module.obj, "__all__", ()):  # pdoc does not see what is loaded when it is first used
                vars(module.obj).setdefault(name, getattr(module.obj, name))
        for name, module in modules.items():
            page = folder / f"{name.replace('.', '/')}.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(pdoc.render.html_module(module, modules), encoding="utf-8")
    (folder / "index.html").write_text(pdoc.render.html_index(modules), encoding="utf-8")
    (folder / "search.js").write_text(pdoc.render.search_index(modules), encoding="utf-8")
    return len(modules)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(f"{build(target)} pages: {target / 'index.html'}")
