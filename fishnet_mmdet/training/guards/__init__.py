"""Guards: hooks that stop a run which cannot succeed, with the reason and the fix."""
