"""Work on bytes that nobody vouches for, in processes that can do nothing else.

A machine has one fork server, which imports scikit-learn once. For a call it forks a child
that gives up memory, processor time, files, processes and the network before it runs one
named function over bytes, and answers bytes; or it is asked again and again about one file,
which is all that it has. A child that stays loads something once and
then answers whoever is attached to it. Nothing is pickled on the way in or out; every
call and every connection has sockets of its own, so that no answer can reach another caller.
"""

from service.confinement.attachment import Attachment, Fate, LostError, Residence
from service.confinement.confinement import Confinement
from service.confinement.conversation import Conversation
from service.confinement.limits import Limits

__all__ = ["Attachment", "Confinement", "Conversation", "Fate", "Limits", "LostError", "Residence"]
