"""What runs left in their work dirs: read, compared, and shown as one page (`fishnet-mmdet plot`)."""
