"""placeholder"""
class Files:
    def __init__(self, *a): raise SystemExit("x")
