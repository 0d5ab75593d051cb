# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints against an older image: what changed is saved, what did not is left to that, and the tracker that tells the two apart is never believed too much"""
