# SPDX-License-Identifier: Apache-2.0
"""Read image data sets that lie on this machine, and a few images that come with the package. Nothing is downloaded."""

from semdiff.data.cifar10 import LabelledImages, cifar10
from semdiff.data.fashion_mnist import FashionMNIST, fashion_mnist
from semdiff.data.folders import image_files, read_folder, read_folders
from semdiff.data.kodak import kodak
from semdiff.data.photos import Photo, photo_list, photos
from semdiff.data.pictures import read_picture
from semdiff.data.samples import sample_images, sample_photos

__all__ = [
    "FashionMNIST",
    "LabelledImages",
    "Photo",
    "cifar10",
    "fashion_mnist",
    "image_files",
    "kodak",
    "photo_list",
    "photos",
    "read_folder",
    "read_folders",
    "read_picture",
    "sample_images",
    "sample_photos",
]
