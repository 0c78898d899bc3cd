"""What people look at: pictures with maps on them, and one page per scan."""
