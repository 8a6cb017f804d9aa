# SPDX-License-Identifier: Apache-2.0
"""What is told of a file that is not read."""


class PictureError(ValueError):
    """Names the file, what was expected and what it is: already in words for the user, unlike what decoders raise."""
