"""Rows of an export held against its seals, as they pass: what an import takes over must be what was sealed.

Who may sign, and whether all that was published is there, only `accrual-verify` can say, with the published seals and
keys; here an export is held against itself.
"""

from collections.abc import Mapping
from typing import Any

from ledger.domain.merkle import root_by_path, root_of
from ledger.domain.seals import NO_HASH, ShopPart, places_hash
from ledger.signing import signed_by
from ledger.store.seals import Sealed, sealed_of


class SealsDiffer(Exception):
    """The rows of an export are not those that its seals hold."""


class SealedRows:
    """One lane's seals and rows; it remembers one seal's rows."""

    def __init__(self, shop: str) -> None:
        self._shop = shop
        self._last: Sealed | None = None
        self._part: ShopPart | None = None
        """What the last seal holds of the shop."""
        self._total = 0
        self._position = 0
        self._hashes: list[bytes] = []
        self._places: list[int] = []

    def seal(self, told: Mapping[str, Any], of_shop: Mapping[str, Any]) -> None:
        """The next seal of the lane, before its rows."""
        self.close()
        try:
            sealed = sealed_of(told)
            self._follows(sealed)
            self._part = None if "absent" in of_shop else self._present(sealed, of_shop)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SealsDiffer(f"a seal cannot be read: {error!r}") from error
        self._last = sealed

    def row(self, position: int, row_hash: bytes) -> None:
        """The next row of the lane."""
        if position <= self._position:
            raise SealsDiffer(f"position {position} comes after {self._position}")
        if self._last is not None and self._part is not None and position > self._last.seal.last:
            self.close()
        self._position = position
        self._hashes.append(row_hash)
        self._places.append(position)

    def close(self) -> None:
        """All rows of the last seal have passed."""
        if self._last is None or (self._part is None and not self._hashes):
            self._hashes, self._places = [], []
            return
        seal = self._last.seal
        within = [place for place in self._places if place <= seal.last]
        if self._part is None:
            if within:
                raise SealsDiffer(f"seal {seal.number} of lane {seal.lane} says that the shop is not in it")
        elif (len(within), root_of(self._hashes), places_hash(self._places)) != (
            self._part.count,
            self._part.root,
            self._part.places,
        ):
            raise SealsDiffer(
                f"the rows at positions {seal.first} to {seal.last} of lane {seal.lane} are not those that were sealed"
            )
        self._part = None
        self._hashes, self._places = [], []

    def _follows(self, sealed: Sealed) -> None:
        seal, before = sealed.seal, None if self._last is None else self._last.seal
        where = f"seal {seal.number} of lane {seal.lane}"
        number, first, previous, key, epoch = (
            (1, 1, NO_HASH, seal.key, 1)
            if before is None
            else (before.number + 1, before.last + 1, before.hash, before.successor, before.epoch)
        )
        if (seal.number, seal.first, seal.previous, seal.key) != (number, first, previous, key) or seal.epoch < epoch:
            raise SealsDiffer(f"{where} does not follow the one before it")
        if self._position >= seal.first:
            raise SealsDiffer(f"{where} comes after its rows")
        if not signed_by(seal.key, sealed.signature, seal.encoded()):
            raise SealsDiffer(f"{where} is not signed by its key")

    def _present(self, sealed: Sealed, of_shop: Mapping[str, Any]) -> ShopPart:
        seal = sealed.seal
        part = ShopPart(
            shop=self._shop,
            count=of_shop["count"],
            total=of_shop["total"],
            root=bytes.fromhex(of_shop["root"]),
            places=bytes.fromhex(of_shop["places"]),
        )
        path = [bytes.fromhex(node) for node in of_shop["path"]]
        if root_by_path(part.leaf, of_shop["index"], seal.shops, path) != seal.root:
            raise SealsDiffer(f"seal {seal.number} of lane {seal.lane} does not hold what is said of the shop")
        self._total += part.count
        if part.total != self._total:
            raise SealsDiffer(f"seal {seal.number} of lane {seal.lane}: a seal before it was left out")
        return part
