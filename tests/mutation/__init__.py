"""Mutation testing: each small change to a module that guards something must turn one of its own tests red."""
