"""The worker's end of the channel to its parent: what it says, and what it is asked."""

from typing import Any, Dict, List

from hypercorn_image.process import channel


class Parent:
    """The process that forked this worker."""

    def __init__(self, sender: channel.Sender, receiver: channel.Receiver) -> None:
        self._sender, self._receiver = sender, receiver

    @property
    def descriptor(self) -> int:
        """What can be read when there are `messages`."""
        return self._receiver.descriptor

    def say(self, what: str, **details: Any) -> None:
        """Tell the parent."""
        self._sender.send(what, **details)

    def beat(self) -> None:
        """Tell the parent that the event loop turns; never blocks it."""
        self._sender.send_if_room(channel.ALIVE)

    def messages(self) -> List[Dict[str, Any]]:
        """Return what the parent has said since."""
        return self._receiver.receive()

    @property
    def ended(self) -> bool:
        """Whether the parent has ended."""
        return self._receiver.ended
