"""From a configuration to a trained model: suggest, plan, fit, checkpoint, predict.

Importing this room costs no torch: `plan` and `suggest` never need it; `fit`, `probe` and `predictor` do.
"""
