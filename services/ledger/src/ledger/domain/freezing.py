"""How a member is frozen and let go again, and what is refused meanwhile."""

from collections.abc import Mapping

from ledger.domain.books import Account, State
from ledger.domain.errors import AccountFrozen
from ledger.domain.journal import Journal, Origin
from ledger.domain.members import MemberKey, chain_of
from ledger.domain.postings import Freeze, Posting, Unfreeze


def freeze(journal: Journal, account: Account, posting: Freeze) -> Mapping[str, int] | None:
    """From now on nothing new takes points of the member, of whatever asset."""
    return _set(journal, account, posting, frozen=True)


def unfreeze(journal: Journal, account: Account, posting: Unfreeze) -> Mapping[str, int] | None:
    """The opposite."""
    return _set(journal, account, posting, frozen=False)


def _set(journal: Journal, account: Account, posting: Posting, *, frozen: bool) -> Mapping[str, int] | None:
    """An entry that moves nothing, so that who did it, when and why is told and hashed as all else."""
    member = journal.state.member(posting.shop, posting.member)
    if member.frozen is frozen:
        return None
    member.frozen = frozen
    journal.note_member(member)
    origin = Origin(posting.source, posting.key, posting.order, posting.cause)
    journal.enter(account, posting.kind, origin, at=journal.moment(account))
    return {}


def refuse_if_frozen(state: State, posting: Posting) -> None:
    """What takes points anew is refused while the member is frozen, or one that it was merged into."""
    if state.members:
        for member in chain_of(state.members, MemberKey(posting.shop, posting.member)):
            if member.frozen:
                raise AccountFrozen(member.key.member)
