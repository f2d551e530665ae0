"""What every other room uses: errors that end a command in one line, atomic writing, tables, nodes of a config."""
