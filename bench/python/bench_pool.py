"""What one call of the CPU-bound rows does."""


def work(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += number * number % 7
    return total
