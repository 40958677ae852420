"""Does its work, until a loop forgets to move on."""

from tally import begin, handle, summary

__all__ = ["begin", "handle", "summary", "longest_line"]


def longest_line(rows: str) -> int:
    """Never returns: ``position`` is not moved past the newline that was found."""
    longest = position = 0
    while (end := rows.find("\n", position)) >= 0:
        longest = max(longest, end - position)
        position = end
    return longest
