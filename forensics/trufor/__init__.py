"""TruFor: trustworthy image forgery detection and localization from all-round clues."""
