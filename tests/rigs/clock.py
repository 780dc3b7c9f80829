"""A clock that tests turn by hand."""


class Clock:
    def __init__(self, now: float = 1_795_000_000):
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
