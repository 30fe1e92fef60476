# SPDX-License-Identifier: MIT
"""The worker's end of the channel to its parent."""

from typing import Any, Dict, List

from hypercorn_image.process import channel


class Parent:
    """The process that forked this worker."""

    def __init__(self, sender: channel.Sender, receiver: channel.Receiver) -> None:
        self._sender, self._receiver = sender, receiver

    @property
    def descriptor(self) -> int:
        """The descriptor that is readable when there are `messages`."""
        return self._receiver.descriptor

    def say(self, what: str, **details: Any) -> None:
        """Send a message to the parent."""
        self._sender.send(what, **details)

    def beat(self) -> None:
        """Send a heartbeat; never blocks."""
        self._sender.send_if_room(channel.ALIVE)

    def messages(self) -> List[Dict[str, Any]]:
        """Return the messages of the parent that have arrived."""
        return self._receiver.receive()

    @property
    def ended(self) -> bool:
        """Whether the parent has ended."""
        return self._receiver.ended
