"""Labels by hand: saving them so that nothing is lost, what to draw next, and what helps a person draw.

Of a task this room knows only the values it is given (scores, tags): the task table lies above it.
"""
