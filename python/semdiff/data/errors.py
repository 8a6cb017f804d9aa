# SPDX-License-Identifier: Apache-2.0
"""Define the error for an image file that is not read."""


class PictureError(ValueError):
    """Report a file, what was expected, and what it is, in words for the user. Decoders' own errors are not."""
