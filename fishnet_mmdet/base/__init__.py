"""What every other room uses: the errors that end a command in one line, and atomic writing of files."""
