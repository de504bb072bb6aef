"""What the centre knows of its fleet: every record stored once, and pure judgements over what is stored.

Judgements (quality, signs, confirmation, severity, diagnosis) take values and return values; the store, the receiver
and the alerts are the shell around them. Nothing here starts a training run: that is ``trainer/continuous``.
"""
