"""What is said about a service that cannot be written in another language, and the way out."""


class GenerationError(ValueError):
    """A service cannot be written as it is.

    Attributes:
        where: The class, method, parameter or field.
        found: What is written there.
        problem: Why it cannot be written.
        advice: What to do instead.
    """

    def __init__(self, where: str, found: str, problem: str, advice: str) -> None:
        super().__init__(where, found, problem, advice)
        self.where = where
        self.found = found
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.where}: {self.found} {self.problem}; {self.advice}"
