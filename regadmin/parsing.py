"""Reading requests off a connection: what Waitress's parser falls over, or could be read in two ways, is refused.

It leans on Waitress 3's inner attributes; setup.cfg keeps version 4 away (docs/decisions/0006).
"""

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest

LONGEST_LINE = 8192
"""Bytes of a chunk's first line, and of the trailers after the last chunk."""


class Parser(HTTPRequestParser):
    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if self.chunked and not self.completed:
            # What has no end yet is copied with every piece that arrives, while everybody waits.
            unfinished = len(self.body_rcv.control_line) + len(self.body_rcv.trailer)
            if unfinished > LONGEST_LINE:
                self.error = BadRequest(f"Chunk extensions and trailers hold at most {LONGEST_LINE} bytes")
                self.completed = True
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError:
            # Else there is no answer, and strangers fill the log with faults.
            raise ParsingError("The address or Content-Length is invalid") from None
        # Waitress takes Transfer-Encoding out where it believes it.
        if (self.chunked and "CONTENT_LENGTH" in self.headers) or "TRANSFER_ENCODING" in self.headers:
            # A proxy before us may see another end of this body, and take its rest for a request of somebody else.
            raise ParsingError("The length of the body is told in two ways")
