"""From the compressed graph back to the user's own module: its tensors are sliced, its attributes follow."""

from fxcompress.writing_back.write import WrittenBack as WrittenBack
from fxcompress.writing_back.write import write_back as write_back
