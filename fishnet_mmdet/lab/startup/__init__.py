"""What `train` and `test` do before their first iteration, in parts: how long each part takes."""
