"""What an archive of a version may be: names, formats and sizes."""

FORMAT = 1
MANIFEST = "model.json"
TAR = ".tar"
CHUNK_PATTERN = r"^[0-9]{6}\.safetensors$"
MOST_MANIFEST_BYTES = 256 * 1024 * 1024
"""Of a version with some hundred thousand series, most of it their labels and errors."""
MOST_CHUNKS = 100_000
