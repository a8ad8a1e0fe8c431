"""The table of a change, when a frame is coded against one that both ends hold.

A frame's positions come row by row. A flag says for each whether any of its symbols differs from the reference. Where
one does, every channel's change follows. Changes cluster: beside other changes, where the reference itself had changed,
and across the channels of a position. All is integers, so both ends choose alike. A change to these rules is
another context model, with a number of its own in the bitstream's header.
"""

from __future__ import annotations

FLAG_CONTEXTS = 7 * 3
CHANGE_CONTEXTS = 3 * 3 * 4

_SOME, _MANY = 3, 8  # channels of a position that have changed already


def flag_context(west: int, north: int, north_west: int, north_east: int, before: int, around: int) -> int:
    """Return the context, 0..20, of the flag of a position.

    The first four are the flags, 0 or 1, of neighbours coded before. before: the flag that this position had when the
    reference was coded; around: how many flags there were in the 3x3 around it. Free of branches, so that numbers,
    arrays and compiled code share this one definition.
    """
    near = 2 * west + 2 * north + north_west + north_east
    return 3 * near + 2 * before + (1 - before) * (around > 0)


def change_context(distance: int, neighbours: int, channels: int) -> int:
    """Return the context, 0..35, of a symbol's change at a position that changed.

    distance: of the reference's symbol from the channel's centre, without its sign. neighbours: the changes west and
    north in the same channel, without signs, added up. channels: how many before this one have changed here.
    """
    from_centre = 1 * (distance > 0) + (distance > 1)
    beside = 1 * (neighbours > 0) + (neighbours > 1)
    so_far = 1 * (channels > 0) + (channels >= _SOME) + (channels >= _MANY)
    return 12 * from_centre + 4 * beside + so_far
