"""`ra bench`: ratios between two ways of doing the same work, measured in one process.

One small module per comparison; ``docs/performance.md`` says what each is held against.
"""
