"""The exception for errors that the user can fix."""


class UserError(Exception):
    """An error that the user can fix. The command line prints its message without a traceback and exits with code 2.

    The message has one or two lines: what is wrong, where (file, row, key, value), what to do.
    """
