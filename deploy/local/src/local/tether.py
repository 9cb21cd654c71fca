"""Becomes another program that ends when its parent ends, whatever ended the parent.

Run as a script before the program itself: `python -I -S tether.py PARENT SIGNAL UID GID PROGRAM [ARGUMENT…]`. The
kernel forgets a parent-death signal when credentials change, so the user is changed first; and the parent may have
died before the signal was asked for, so it is looked at once more afterwards.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, uid: int, gid: int, command: list[str]) -> None:
    """Give up rights, tie this process to its parent, and become the program."""
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent has ended already")
    os.execvp(command[0], command)  # noqa: S606 - becoming that program is what this one is for


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
