"""The worker's end of the channel to its parent: what it says, and what it is asked."""

from typing import Any, NamedTuple, Optional

from hypercorn_image.process import channel


class Stop(NamedTuple):
    """The parent asks to stop. `seconds` is what requests in progress get; None is the graceful timeout."""

    seconds: Optional[float]
    last: bool  # whether all workers stop, so that nobody accepts after this one


class Parent:
    """The process that forked this worker."""

    def __init__(self, sender: channel.Sender, receiver: channel.Receiver) -> None:
        self._sender, self._receiver = sender, receiver

    @property
    def descriptor(self) -> int:
        """What can be read when `asked` has news."""
        return self._receiver.descriptor

    def say(self, what: str, **details: Any) -> None:
        """Tell the parent."""
        self._sender.send(what, **details)

    def beat(self) -> None:
        """Tell the parent that the event loop turns; never blocks it."""
        self._sender.send_if_room(channel.ALIVE)

    def asked(self) -> Optional[Stop]:
        """Read what the parent says; return the stop that it asks for. Its end means one too."""
        for message in self._receiver.receive():
            if message["what"] == channel.STOP:
                return Stop(message["seconds"], message["last"])
        return Stop(None, True) if self._receiver.ended else None
