"""Names the version of the agent, which is that of the distribution; a test compares them.

Not asked of ``importlib.metadata``: with what that imports (e-mail, archives, compression) it costs a device 2 MB.
"""

from typing import Final

VERSION: Final = "0.1.0"
