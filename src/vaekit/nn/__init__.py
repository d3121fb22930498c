"""The torch half: stems, trunks, latent structures, priors, posteriors, likelihoods and the VAE that composes them."""
