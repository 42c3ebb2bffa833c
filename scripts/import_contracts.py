"""An import-linter contract the stock ones cannot say, because their wildcards replace whole names only."""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class SelfContainedFiles(Contract):
    """The files of `package` import neither each other (but for `_` modules) nor ours outside `may_import`."""

    package: Any = fields.StringField()  # import-linter turns fields into values on the instance
    may_import: Any = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        illegal = sorted(
            f"{importer} -> {imported}"
            for importer in [self.package, *graph.find_descendants(self.package)]
            for imported in graph.find_modules_directly_imported_by(importer)
            if not self._allowed(graph, importer, imported)
        )
        return ContractCheck(kept=not illegal, metadata={"illegal": illegal})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["illegal"]:
            output.print_error(line)

    def _allowed(self, graph: ImportGraph, importer: str, imported: str) -> bool:
        if graph.is_module_squashed(imported):  # of somebody else's
            return True
        if imported.startswith(f"{self.package}."):
            return self._file(imported).startswith("_") or self._file(imported) == self._file(importer)
        return any(imported == name or imported.startswith(f"{name}.") for name in self.may_import)

    def _file(self, module: str) -> str:
        file: str = module.removeprefix(self.package).lstrip(".").partition(".")[0]
        return file
