"""Training loops in plain torch, which know nothing of where or by whom they are run."""
