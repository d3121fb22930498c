"""The public surface: `fitting.fit`, `model.load` and `model.Model`; the front door `vaekit` names them."""
