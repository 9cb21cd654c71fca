"""A proof for one member: that an entry, as it is shown, is in the history that was sealed."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from accrual_verify.findings import Report, Unreadable
from accrual_verify.layout import Malformed, entry_hash, entry_of, instant_of, root_by_path
from accrual_verify.seals import Held, Published, Seal, held_of

FORMAT: Final = "accrual-ledger-proof"
VERSION: Final = 1


def verify(told: Mapping[str, Any], *, published: Published | None = None, trusted: Collection[bytes] = ()) -> Report:
    """Follow a proof from the entry's bytes up to the seal. Raises `Unreadable` for what is no proof at all."""
    if told.get("format") != FORMAT or told.get("version") != VERSION:
        raise Unreadable("not a proof of a ledger")
    report = Report()
    try:
        content, stored = bytes.fromhex(told["bytes"]), bytes.fromhex(told["hash"])
        previous = bytes.fromhex(told["previous_hash"])
        path = [bytes.fromhex(node) for node in told["path"]]
        seal = Seal.of(told["seal"])
        entry = entry_of(content)
        held, proved = held_of(seal, entry["shop"], told["shop_in_seal"])
        position, index = told["position"], told["index"]
        sealed = root_by_path(stored, index, held.count, path) == held.root
    except (KeyError, TypeError, ValueError, AttributeError, Malformed) as error:
        raise Unreadable(f"not a proof of a ledger: {error!r}") from error
    if entry_hash(previous, content) != stored:
        report.add("entry_changed", "its hash is not that of its bytes", position=position)
    if not sealed:
        report.add("entry_not_sealed", "its hash does not lead to the shop's root", index=index, **seal.where)
    if not proved:
        report.add("seal_proof", "the shop's root does not lead to the seal's", **seal.where)
    _check_seal(report, seal, published, trusted)
    _tell(report, seal, held, entry.told())
    return report


def _check_seal(report: Report, seal: Seal, published: Published | None, trusted: Collection[bytes]) -> None:
    """One seal of a chain: its signature, its key, and whether it is the published one."""
    if not seal.signed():
        report.add("seal_signature", "the signature is not that of the key that it names", **seal.where)
    if trusted and seal.key not in trusted:
        report.add("key_unknown", f"it is signed by {seal.key.hex()}, which was not given", **seal.where)
    if not trusted:
        report.notes.append(f"nobody vouched for the key {seal.key.hex()}; compare it with the ledger's, or give --key")
    if published is None:
        report.notes.append("the seal was not compared with published ones (--seals)")
        return
    told = published.newest.get((seal.lane, seal.number))
    if told is None:
        report.add("seal_unpublished", "is not among the published ones", **seal.where)
    elif told.body != seal.body:
        report.add("seal_differs", "is not the one that was published", **seal.where)


def _tell(report: Report, seal: Seal, held: Held, entry: Mapping[str, Any]) -> None:
    report.facts.update(
        entry=entry,
        sealed_at=instant_of(seal.at),
        lane=seal.lane,
        seal=seal.number,
        rows_of_the_shop_in_the_seal=held.count,
        key=seal.key.hex(),
    )
