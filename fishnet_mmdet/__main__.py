"""`python -m fishnet_mmdet COMMAND ...` does what `fishnet-mmdet COMMAND ...` does."""

from fishnet_mmdet.commands import main

if __name__ == '__main__':
    main()
